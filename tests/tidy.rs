//! Keeps the promises of ARCHITECTURE.md and STYLE.md that a machine can check.
