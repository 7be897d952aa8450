//! Which subscribers get a message: subscription trie, shared groups and retained messages.
