//! The broker's configuration file as types with defaults, limits and units.
