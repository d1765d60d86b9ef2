//! Every test that crosses the process boundary, in one binary.

mod broken_configs;
