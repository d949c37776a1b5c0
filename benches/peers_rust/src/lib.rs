//! Nothing: the benches beside it are what this package is for.
