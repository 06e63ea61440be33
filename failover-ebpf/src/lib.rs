//! Pure parts.
#![no_std]
