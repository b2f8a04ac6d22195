//! The server: one thread, one epoll, one turn at a time.

mod connection;
mod listen;
mod pause;
mod run;
mod waiting;

pub use listen::{ListenError, Sockets};
pub use run::{RunError, Server};
