//! The proxy over real sockets: clients and upstreams here are written by hand, byte by byte, so that they can do wrong.

mod access;
mod article;
mod beside_envoy;
mod clients;
mod crowd;
mod door;
mod fields;
mod frames;
mod framing;
mod http2;
mod limits;
mod metrics;
mod process;
mod redis;
mod reload;
mod store;
mod straight;
mod tls;
mod tunnel;
mod upstream;
mod world;
