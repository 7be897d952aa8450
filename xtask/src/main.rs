//! Project tasks: generated files, images and release artefacts.

fn main() {}
