//! The proxy over real sockets: clients and upstreams here are written by hand, byte by byte, so that they can do wrong.

mod article;
mod framing;
mod upstream;
mod world;
