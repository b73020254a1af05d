//! The one binary: every role and every command of Weft.

fn main() {}
