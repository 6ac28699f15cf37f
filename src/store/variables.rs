//! What the environment says of stores: what no request could carry is refused by the variable's name, and its value is told to nobody.

use std::env;

use axum::http::Uri;
use object_store::aws::AmazonS3ConfigKey as S3;
use object_store::azure::AzureConfigKey as Azure;
use object_store::gcp::GoogleConfigKey as Google;
use reqwest::Url;

use crate::error::{Error, Result};

/// What a variable must hold.
enum Rule {
    /// Where something is asked.
    Address,
    /// A part of an address.
    Word,
    /// Where a file lies; who gives what it holds instead would read that in an error.
    File,
    /// What stands in a header, or is signed with.
    Line,
}

/// Refuses what stores of this kind would read.
///
/// # Errors
/// `Setting` with the name of a variable.
pub(super) fn check(scheme: &str) -> Result<()> {
    for (name, value) in env::vars_os() {
        // What is no text is not read.
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let (is_kept, expected) = match rule(scheme, name) {
            None => continue,
            Some(Rule::Address) => (is_address(value), "http://HOST or https://HOST"),
            Some(Rule::Word) => (value.bytes().all(|byte| byte.is_ascii_graphic()), "ASCII without spaces"),
            Some(Rule::File) => (!value.contains(['{', '\n']), "the path of a file"),
            Some(Rule::Line) => (!value.contains(char::is_control), "one line without control characters"),
        };
        if !is_kept {
            let found = format!("{} (its value is not shown): set it again, or unset it", kind(value));
            return Err(Error::setting("the environment", format!("{expected} in {name}"), found));
        }
    }
    Ok(())
}

/// The rule for a variable that is read; `None` for those that are not, and for Google's key, which is JSON of many lines.
fn rule(scheme: &str, name: &str) -> Option<Rule> {
    let key = name.to_ascii_lowercase();
    let rule = match scheme {
        "s3" if name.starts_with("AWS_") => match key.parse().ok()? {
            S3::Endpoint
            | S3::S3Endpoint
            | S3::StsEndpoint
            | S3::MetadataEndpoint
            | S3::ContainerCredentialsFullUri => Rule::Address,
            S3::Region | S3::DefaultRegion | S3::ContainerCredentialsRelativeUri => Rule::Word,
            _ => Rule::Line,
        },
        "gs" if name.starts_with("GOOGLE_") => match key.parse().ok()? {
            Google::ServiceAccountKey => return None,
            Google::BaseUrl => Rule::Address,
            Google::ServiceAccount | Google::ApplicationCredentials => Rule::File,
            _ => Rule::Line,
        },
        "az" if matches!(name, "AZURITE_BLOB_STORAGE_URL" | "IDENTITY_ENDPOINT") => Rule::Address,
        "az" if name.starts_with("AZURE_") => match key.parse().ok()? {
            Azure::Endpoint | Azure::MsiEndpoint | Azure::AuthorityHost => Rule::Address,
            Azure::AuthorityId => Rule::Word,
            _ => Rule::Line,
        },
        _ => return None,
    };
    Some(rule)
}

/// Whether both libraries that read addresses take this one: one of them has no other answer than to panic.
fn is_address(value: &str) -> bool {
    value.parse::<Uri>().is_ok() && Url::parse(value).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn kind(value: &str) -> &'static str {
    if value.is_empty() {
        "nothing"
    } else if value.contains(['\n', '\r']) {
        "a line break"
    } else if value.contains(char::is_control) {
        "a control character"
    } else {
        "another text"
    }
}
