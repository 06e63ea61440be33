//! What the pictures have in common.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A part of a picture.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The error of the backend is not Send, which anyhow wants.
pub(crate) type Failure = Box<dyn std::error::Error>;

pub(crate) const INK: RGBColor = RGBColor(31, 41, 55);
pub(crate) const FAINT: RGBColor = RGBColor(107, 114, 128);
pub(crate) const GRID: RGBColor = RGBColor(229, 231, 235);

/// Text of so many pixels, centred on the line it is written at.
pub(crate) fn text(size: u32, colour: RGBColor, anchor: HPos) -> TextStyle<'static> {
    TextStyle {
        font: ("sans-serif", size).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(anchor, VPos::Center),
    }
}
