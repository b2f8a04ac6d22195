//! RESP2 and RESP3, the wire protocol: requests in, replies out, and replies back into values for the library and tests.

mod number;
mod out;
mod reply;
mod request;

pub use number::parse_integer;
pub use out::Out;
pub use reply::Reply;
pub use request::{Parsed, ProtocolError, RequestParser, split_line};
