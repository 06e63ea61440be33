//! What clients' traffic shows: SYNs that pile up, silence, and packets that were
//! not delivered, and what becomes of those.

mod counts;
mod redelivery;
mod unreachable;

use super::Row;

pub(super) fn rows() -> Vec<Row> {
    [counts::rows(), unreachable::rows(), redelivery::rows()].concat()
}
