//! The pure core of one data thread: connections, sessions, routing and links as (event, now) -> outputs.
