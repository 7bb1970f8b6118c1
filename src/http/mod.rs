//! placeholder
mod key;
pub use key::{ClientIp, GlobalKey, HeaderKey, KeyExtractor, NoKey, PeerAddr};
