//! The lab: a client, a director and backends, each a network namespace with
//! real sockets, real servers and faults that can be caused on purpose.
//!
//! The namespace tests and the demo both run in it. `Lab::new` builds the
//! network, `Server` and `Agent` are processes in it, `client` and `Stream` are
//! the traffic, `Record` is what the traffic saw.

mod agent;
pub mod client;
pub mod clock;
pub mod closing;
mod decap;
mod host;
mod interrupt;
pub mod iproute;
mod lab;
pub mod machine;
mod namespace;
pub mod postgres;
pub mod printed;
pub mod process;
pub mod record;
pub mod redis;
mod scripts;
pub mod server;
pub mod stream;
mod systemd;
pub mod topology;
pub mod wait;
pub mod writer;
mod xdp;

pub use agent::Agent;
pub use decap::Decap;
pub use host::Host;
pub use interrupt::Interrupt;
pub use lab::Lab;
pub use namespace::Namespace;
pub use postgres::Postgres;
pub use record::Record;
pub use redis::Redis;
pub use scripts::Scripts;
pub use server::Server;
pub use stream::Stream;
pub use systemd::Systemd;
pub use topology::{Family, Forward, Options};
pub use writer::Writer;
