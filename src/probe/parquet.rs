//! Parquet tables, where the command was built with the feature `parquet`; without it they are refused, with what to do.

#[cfg(not(feature = "parquet"))]
mod absent;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod tables;
#[cfg(feature = "parquet")]
mod thrift;

#[cfg(not(feature = "parquet"))]
pub use absent::open;
#[cfg(feature = "parquet")]
pub use tables::open;
