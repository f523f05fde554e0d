//! all-MiniLM-L6-v2 as int8 ONNX, run by ONNX Runtime on one thread: a text becomes 384 numbers.

use moka::sync::Cache;
use ort::{environment::Environment, session::Session, value::Tensor};
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};
use tokenizers::{Tokenizer, TruncationParams};

#[derive(Debug, thiserror::Error)]
pub enum MiniLmError {
    #[error("`{path}` is absent")]
    Absent { path: PathBuf },
    #[error("the ONNX runtime cannot be used: {reason}")]
    Runtime { reason: String },
    #[error("the tokenizer cannot be used: {reason}")]
    Tokenizer { reason: String },
    #[error("the model gave {found} numbers for {tokens} tokens")]
    Shape { found: usize, tokens: usize },
}

impl From<ort::Error> for MiniLmError {
    fn from(error: ort::Error) -> Self {
        Self::Runtime { reason: error.to_string() }
    }
}

/// ONNX Runtime is one library with one environment in a process.
static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();

fn environment(library: &Path) -> Result<&'static Environment, MiniLmError> {
    let made = ENVIRONMENT.get_or_init(|| {
        let builder = ort::init_from(library).map_err(|error| error.to_string())?;
        builder.with_name("autonomos").with_telemetry(false).build().map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|reason| MiniLmError::Runtime { reason: reason.clone() })
}

/// A loaded model holds 90 MB: they are given back when nobody asked for so long. What it said lately
/// stays, and loading it again takes a third of a second.
const IDLE: Duration = Duration::from_secs(1);

/// The session, while it is loaded.
struct Loaded {
    session: Option<Session>,
    asked: Instant,
}

/// Unloads the session once it is idle; ends with it.
fn unload_when_idle(loaded: &Arc<Mutex<Loaded>>) {
    let loaded: Weak<Mutex<Loaded>> = Arc::downgrade(loaded);
    let watch = move || {
        loop {
            std::thread::sleep(IDLE);
            let Some(loaded) = loaded.upgrade() else { return };
            let mut loaded = loaded.lock();
            if loaded.asked.elapsed() >= IDLE {
                loaded.session = None;
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("embedding-idle".to_owned()).spawn(watch) {
        tracing::warn!(%error, "the embedding model stays in memory");
    }
}

fn open(model: &Path, library: &Path) -> Result<Session, MiniLmError> {
    let plain = |error: ort::Error<ort::session::builder::SessionBuilder>| MiniLmError::Runtime {
        reason: error.to_string(),
    };
    Ok(Session::builder(environment(library)?)?
        .with_intra_threads(1)
        .map_err(plain)?
        .with_inter_threads(1)
        .map_err(plain)?
        .commit_from_file(model)?)
}

/// The model, its tokenizer, and the embeddings it made lately.
pub struct MiniLm {
    model: PathBuf,
    library: PathBuf,
    loaded: Arc<Mutex<Loaded>>,
    tokenizer: Tokenizer,
    made: Cache<String, Arc<[f32]>>,
}

impl MiniLm {
    pub const NAME: &'static str = "all-MiniLM-L6-v2 int8";
    /// Tokens read of a text; what a column means is said by its first ones.
    const TOKENS: usize = 64;
    const DIMENSIONS: usize = 384;
    const CACHED: u64 = 20_000;

    /// Loads `minilm-int8-1.0.0/{model.onnx, tokenizer.json}` and
    /// `onnxruntime-1.30.0/libonnxruntime.so.1` below `folder`.
    pub fn load(folder: &Path) -> Result<Self, MiniLmError> {
        let model = folder.join("minilm-int8-1.0.0/model.onnx");
        let words = folder.join("minilm-int8-1.0.0/tokenizer.json");
        let library = folder.join("onnxruntime-1.30.0/libonnxruntime.so.1");
        for path in [&model, &words, &library] {
            if !path.is_file() {
                return Err(MiniLmError::Absent { path: path.clone() });
            }
        }
        let broken = |error: tokenizers::Error| MiniLmError::Tokenizer { reason: error.to_string() };
        let mut tokenizer = Tokenizer::from_file(&words).map_err(broken)?;
        // The file pads every text to 128 tokens, five times the work for nothing.
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: Self::TOKENS, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(broken)?;
        let session = Some(open(&model, &library)?);
        let loaded = Arc::new(Mutex::new(Loaded { session, asked: Instant::now() }));
        unload_when_idle(&loaded);
        Ok(Self { model, library, loaded, tokenizer, made: Cache::new(Self::CACHED) })
    }

    /// The text's embedding, of length 1.
    pub fn embed(&self, text: &str) -> Result<Arc<[f32]>, MiniLmError> {
        if let Some(known) = self.made.get(text) {
            return Ok(known);
        }
        let broken = |error: tokenizers::Error| MiniLmError::Tokenizer { reason: error.to_string() };
        let encoding = self.tokenizer.encode(text, true).map_err(broken)?;
        let numbers = |list: &[u32]| list.iter().map(|&number| i64::from(number)).collect::<Vec<i64>>();
        let mask = encoding.get_attention_mask();
        let tokens = encoding.get_ids().len();
        let tensor = |list: &[u32]| Tensor::from_array((vec![1, tokens as i64], numbers(list)));
        let pooled = {
            let mut loaded = self.loaded.lock();
            loaded.asked = Instant::now();
            let session = match &mut loaded.session {
                Some(session) => session,
                absent => {
                    unload_when_idle(&self.loaded);
                    absent.insert(open(&self.model, &self.library)?)
                }
            };
            let outputs = session.run(ort::inputs![
                "input_ids" => tensor(encoding.get_ids())?,
                "attention_mask" => tensor(mask)?,
                "token_type_ids" => tensor(encoding.get_type_ids())?,
            ])?;
            let (_, hidden) = outputs["last_hidden_state"].try_extract_tensor::<f32>()?;
            if hidden.len() != tokens * Self::DIMENSIONS {
                return Err(MiniLmError::Shape { found: hidden.len(), tokens });
            }
            mean(hidden, mask)
        };
        let made: Arc<[f32]> = unit(pooled).into();
        self.made.insert(text.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    /// Cosines of all pairs as 0 to 1; opposite meanings count as none.
    pub fn likeness(&self, left: &[String], right: &[String]) -> Result<Vec<Vec<f64>>, MiniLmError> {
        let embed = |texts: &[String]| -> Result<Vec<Arc<[f32]>>, MiniLmError> {
            texts.iter().map(|text| self.embed(text)).collect()
        };
        let (left, right) = (embed(left)?, embed(right)?);
        Ok(left.iter().map(|one| right.iter().map(|other| cosine(one, other)).collect()).collect())
    }
}

/// The mean of the hidden states of the tokens that count.
fn mean(hidden: &[f32], mask: &[u32]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; MiniLm::DIMENSIONS];
    let mut count = 0.0_f32;
    for (state, _) in hidden.chunks_exact(MiniLm::DIMENSIONS).zip(mask).filter(|(_, counts)| **counts == 1) {
        count += 1.0;
        for (total, value) in sum.iter_mut().zip(state) {
            *total += value;
        }
    }
    for total in &mut sum {
        *total /= count.max(1.0);
    }
    sum
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
    for value in &mut vector {
        *value /= length;
    }
    vector
}

pub(super) fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let sum: f32 = left.iter().zip(right).map(|(one, other)| one * other).sum();
    f64::from(sum).clamp(0.0, 1.0)
}
