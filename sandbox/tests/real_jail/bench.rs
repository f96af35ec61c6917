//! Costs, measured.
