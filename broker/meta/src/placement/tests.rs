//! What placement does with clusters of many shapes.
