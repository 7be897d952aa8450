//! What nodes say to each other, as pure values: link frames and states, interest, retained versions.
