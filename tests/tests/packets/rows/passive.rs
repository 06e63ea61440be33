//! What clients' traffic shows: SYNs that pile up, silence, and packets that were
//! not delivered.

mod counts;
mod unreachable;

use super::Row;

pub(super) fn rows() -> Vec<Row> {
    [counts::rows(), unreachable::rows()].concat()
}
