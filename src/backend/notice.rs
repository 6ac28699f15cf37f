//! What the reader of a measurement should know of its network.

use std::path::Path;

/// A thing to know, of a kind that programs can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its kind.
    pub code: Code,
    /// In words.
    pub text: String,
}

/// Kinds of notices; their names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Code {
    /// Measured before a softmax, a sigmoid, or a final `ReLU` or `Clip`.
    MeasuredBefore,
    /// Several outputs may be class logits.
    SeveralOutputs,
    /// Dropout in training mode was taken out.
    DropoutTakenOut,
    /// One image, or one batch of a size, at a time, though the file declares a free batch.
    BakedBatch,
    /// 8-bit scales are taken from the whole batch, so images are given one at a time.
    DynamicScale,
    /// The network takes integers.
    IntegerInput,
    /// An image in one row is given in an order that the file does not tell.
    PixelOrder,
    /// ONNX Runtime's 8-bit sums saturate on this processor.
    Saturation,
    /// Another engine or provider ran than the first choice.
    OtherEngine,
    /// Two files name one file of weights.
    SharedWeights,
    /// Layers were passed over, or thinned out.
    Layers,
    /// Metadata that was not understood.
    Metadata,
}

impl Notice {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A file of weights that another network named before.
    pub fn shared_weights(file: &Path, other: &Path) -> Self {
        let text = format!(
            "the weights in {} are named by {} too: whichever was written last holds for both; give each checkpoint a file of its own",
            file.display(),
            other.display()
        );
        Self::new(Code::SharedWeights, text)
    }
}
