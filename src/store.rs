//! Object stores: addresses such as `s3://bucket/prefix`, what lies below them, and files brought from there.
//!
//! `cloud` talks to S3, Google Cloud Storage and Azure. It is built with the feature `stores`; without it their addresses are refused, with
//! what to do, and those of folders (`file:///folder`) are not.

pub mod address;
#[cfg(feature = "stores")]
#[path = "store/cloud.rs"]
mod cloud;
#[cfg(not(feature = "stores"))]
#[path = "store/absent.rs"]
mod cloud;
mod folder;
#[cfg(feature = "stores")]
#[path = "store/variables.rs"]
mod variables;
pub mod bucket;
pub mod cache;
