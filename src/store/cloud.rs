//! S3, Google Cloud Storage and Azure, asked by the credentials of the environment.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::address::{Object, without_secrets};
use super::variables;
use crate::error::{Error, Result};
use crate::process;
use crate::text::cut;

/// A request that fails is sent again this often, from where it broke off, however long it took by then.
const RETRIES: usize = 3;
const PATIENCE: Duration = Duration::from_hours(24);
/// What ends a request where the environment does not say: silence, not its length. A large object takes its time.
const LIMITS: [(&str, ClientConfigKey, &str); 2] =
    [("TIMEOUT", ClientConfigKey::Timeout, "24 hours"), ("READ_TIMEOUT", ClientConfigKey::ReadTimeout, "30 seconds")];
/// How S3 and Azure say that an object lies in an archive: no other refusal is the object's own.
const ARCHIVED: [&str; 2] = ["<Code>InvalidObjectState<", "<Code>BlobArchived<"];
/// What a store says may be this long, bytes.
const LONGEST: usize = 300;

/// Open stores, one for each bucket.
pub(super) struct Clouds {
    runtime: Runtime,
    open: HashMap<String, Arc<dyn ObjectStore>>,
}

impl Clouds {
    pub(super) fn new() -> Result<Self> {
        // Another part of the process may have chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fail = |source| Error::Io { path: "object stores".into(), action: "set up", source };
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().thread_keep_alive(Duration::MAX).build().map_err(fail)?;
        // Names are looked up on a thread, which is kept: where it had to start and may not, the runtime would panic.
        process::try_threads(1)?;
        drop(runtime.spawn_blocking(|| ()));
        Ok(Self { runtime, open: HashMap::new() })
    }

    pub(super) fn prepare(&mut self, address: &Path) -> Result<()> {
        self.store(address, "open").map(drop)
    }

    pub(super) fn list(&mut self, folder: &Path) -> Result<Vec<Object>> {
        let (store, root, key) = self.store(folder, "list")?;
        let fail = failed(folder, "list");
        self.runtime.block_on(async {
            let mut objects = Vec::new();
            let mut list = store.list(Some(&key));
            while let Some(meta) = list.next().await {
                objects.push(object(&root, meta.map_err(&fail)?));
            }
            Ok(objects)
        })
    }

    pub(super) fn find(&mut self, address: &Path) -> Result<Option<Object>> {
        let (store, root, key) = self.store(address, "look at")?;
        match self.runtime.block_on(store.head(&key)) {
            Ok(meta) => Ok(Some(object(&root, meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(address, "look at")(error)),
        }
    }

    pub(super) fn get(&mut self, object: &Object, file: &mut File) -> Result<bool> {
        let (store, _, key) = self.store(object.path(), "fetch")?;
        let fail = failed(object.path(), "fetch");
        self.runtime.block_on(async {
            let options = GetOptions { if_match: object.tag.as_deref().map(quoted), ..GetOptions::default() };
            let answer = match store.get_opts(&key, options).await {
                Ok(answer) => answer,
                Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => {
                    return Ok(false);
                }
                Err(error) if ARCHIVED.iter().any(|code| error.to_string().contains(code)) => {
                    let (path, found) = (object.path().to_owned(), said(&error));
                    return Err(Error::Unfinished { path, expected: "an object that may be read".to_owned(), found });
                }
                Err(error) => return Err(fail(error)),
            };
            // Some stores take If-Match and pay no heed.
            if self::object("", answer.meta.clone()).stamp() != object.stamp() {
                return Ok(false);
            }
            let mut parts = answer.into_stream();
            while let Some(part) = parts.next().await {
                let part = part.map_err(&fail)?;
                file.write_all(&part).map_err(Error::io(object.path(), "write a copy of"))?;
            }
            Ok(true)
        })
    }

    /// The store of an address, what addresses in it begin with, and the key in it.
    fn store(&mut self, address: &Path, action: &'static str) -> Result<(Arc<dyn ObjectStore>, String, Key)> {
        let fail = failed(address, action);
        let text = address.to_str().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let root = format!("{scheme}://{bucket}");
        let key = Key::parse(key).map_err(|error| fail(error.into()))?;
        let store = if let Some(store) = self.open.get(&root) {
            Arc::clone(store)
        } else {
            variables::check(scheme)?;
            let store = open(scheme, bucket).map_err(fail)?;
            self.open.insert(root.clone(), Arc::clone(&store));
            store
        };
        Ok((store, root, key))
    }
}

fn open(scheme: &str, bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
    Ok(match scheme {
        "s3" => {
            let s3 =
                limited(AmazonS3Builder::from_env(), "AWS", AmazonS3ConfigKey::Client, AmazonS3Builder::with_config);
            Arc::new(s3.with_bucket_name(bucket).with_retry(retry).build()?)
        }
        "gs" => {
            let new = GoogleCloudStorageBuilder::from_env();
            let gs = limited(new, "GOOGLE", GoogleConfigKey::Client, GoogleCloudStorageBuilder::with_config);
            Arc::new(gs.with_bucket_name(bucket).with_retry(retry).build()?)
        }
        _ => {
            let new = MicrosoftAzureBuilder::from_env();
            let az = limited(new, "AZURE", AzureConfigKey::Client, MicrosoftAzureBuilder::with_config);
            Arc::new(az.with_container_name(bucket).with_retry(retry).build()?)
        }
    })
}

/// A store's builder with [`LIMITS`], but those that a variable sets.
fn limited<B, K>(
    builder: B,
    prefix: &str,
    key: impl Fn(ClientConfigKey) -> K,
    with: impl Fn(B, K, &'static str) -> B,
) -> B {
    let open = LIMITS.into_iter().filter(|(name, ..)| std::env::var_os(format!("{prefix}_{name}")).is_none());
    open.fold(builder, |builder, (_, limit, value)| with(builder, key(limit), value))
}

/// An `ETag` as headers have it; Azure's lists leave the quotes out.
fn quoted(tag: &str) -> String {
    if tag.ends_with('"') { tag.to_owned() } else { format!("\"{tag}\"") }
}

fn object(root: &str, meta: ObjectMeta) -> Object {
    Object {
        address: format!("{root}/{}", meta.location),
        size: meta.size,
        tag: meta.e_tag,
        modified: u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0),
    }
}

fn failed(address: &Path, action: &'static str) -> impl Fn(object_store::Error) -> Error {
    let address = address.to_owned();
    move |error| Error::Store { address: address.clone(), action, reason: said(&error) }
}

/// What went wrong in the store's own words, without what may be credentials.
fn said(error: &object_store::Error) -> String {
    let text = error.to_string();
    let within = |tag: &str| Some(text.split_once(&format!("<{tag}>"))?.1.split_once('<')?.0.to_owned());
    // An answer in XML may repeat what was signed.
    let plain = text.split(['<', '\n']).next().unwrap_or_default().trim().trim_end_matches(':').to_owned();
    let words = [Some(plain), within("Code"), within("Message")];
    let mut said = without_secrets(&words.into_iter().flatten().collect::<Vec<_>>().join(": "));
    cut(&mut said, LONGEST);
    said
}
