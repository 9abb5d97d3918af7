//! The chainview program: parse, pick the mode, turn an error into an exit code.

fn main() {}
