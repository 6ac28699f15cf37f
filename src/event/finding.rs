//! What is wrong, doubtful or worth knowing about a measurement.

use clap::ValueEnum as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter};

/// How much it matters; the worse, the greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display, EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// The numbers may be wrong.
    Doubt,
    /// The numbers are wrong, and something in what was measured is why: no prediction is made of them.
    Wrong,
}

/// What was found, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Display, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    /// The network is sure of its answers, and no better than guessing.
    NearChance,
    /// The labels number the classes in another order than the network.
    ClassOrder,
    /// The same image gives another answer each time, or in another batch.
    UnsteadyAnswers,
    /// A channel has one value in all images.
    ConstantChannel,
    /// The mean or standard deviation cannot be that of the images.
    ImpossibleNormalisation,
    /// Most images are copies of others.
    IdenticalImages,
    /// The outputs of each image are sorted, so that their places name no classes.
    SortedOutputs,
    /// The error on the probe images and the predicted one lie apart.
    ErrorOutsidePrediction,
    /// The error that the checkpoint says lies outside its prediction.
    KnownErrorOutsidePrediction,
    /// The error on the probe images and the one that the checkpoint says lie apart.
    ErrorsDisagree,
    /// Another preprocessing gives a clearly smaller error.
    Preprocessing,
    /// Nearly all images get one class.
    OneClass,
    /// The outputs are probabilities, or their logarithms.
    SquashedOutputs,
    /// The outputs are whole numbers.
    RoundedOutputs,
    /// Several outputs may be logits.
    SeveralOutputs,
    /// The law is of another data set.
    OtherDataSet,
    /// Many deformations fold the image.
    FoldedMaps,
    /// The measurement lies outside what the law was fitted on.
    OutsideLaw,
    /// A label is beyond the network's outputs.
    LabelBeyondOutputs,
    /// Probe images are among those of the training.
    SeenInTraining,
    /// The network answers as before its training.
    Untrained,
    /// Nothing normalises the images.
    NoNormalisation,
    /// A value of the checkpoint's metadata cannot be used.
    MetadataRefused,
    /// The predicted error comes from a law that was fitted on this network's own.
    FittedOnIt,
    /// No law predicted an error.
    NoPrediction,
    /// What the law says of its prediction.
    Law,
    /// How the network is read and run.
    Network,
    /// How the probe images are read.
    Images,
    /// How the images are perturbed, and how often.
    Perturbation,
    /// Another, of a newer version.
    #[serde(other)]
    #[value(skip)]
    Other,
}

impl Code {
    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::NearChance
            | Self::ClassOrder
            | Self::UnsteadyAnswers
            | Self::ConstantChannel
            | Self::ImpossibleNormalisation
            | Self::IdenticalImages
            | Self::SortedOutputs => Severity::Wrong,
            Self::ErrorOutsidePrediction
            | Self::KnownErrorOutsidePrediction
            | Self::ErrorsDisagree
            | Self::Preprocessing
            | Self::OneClass
            | Self::SquashedOutputs
            | Self::RoundedOutputs
            | Self::SeveralOutputs
            | Self::OtherDataSet
            | Self::FoldedMaps
            | Self::OutsideLaw
            | Self::LabelBeyondOutputs
            | Self::SeenInTraining => Severity::Doubt,
            Self::Untrained
            | Self::NoNormalisation
            | Self::MetadataRefused
            | Self::FittedOnIt
            | Self::NoPrediction
            | Self::Law
            | Self::Network
            | Self::Images
            | Self::Perturbation
            | Self::Other => Severity::Note,
        }
    }

    /// What to do about it; empty where there is nothing.
    pub fn help(self) -> &'static str {
        match self {
            Self::NearChance => {
                "compare the images with those of the training: normalisation (--mean, --std), order of channels, layout, labels; \
                 relstab doctor MODEL tries some"
            }
            Self::ClassOrder => "renumber the labels of the probe set as the training did",
            Self::UnsteadyAnswers => "export the network in evaluation mode, without dropout or batch statistics",
            Self::ConstantChannel => "look at the probe images: a channel is missing",
            Self::ImpossibleNormalisation => {
                "--mean and --std are for pixels in [0, 1]; for pixels of 0 to 255 write --preprocess rescale=1"
            }
            Self::IdenticalImages => "take other probe images, each once",
            Self::SortedOutputs => "export the network without its TopK, or name the logits with --output",
            Self::RoundedOutputs => "export the logits as floats, or name them with --output",
            Self::ErrorOutsidePrediction | Self::ErrorsDisagree => {
                "check normalisation, order of channels and labels of the probe set; relstab doctor MODEL tries some"
            }
            Self::KnownErrorOutsidePrediction => {
                "trust the known error; a law of your own networks fits better: relstab calibrate"
            }
            Self::Preprocessing => "measure with the preprocessing of the training",
            Self::OneClass => "check the images and their normalisation, or whether the network was trained",
            Self::SquashedOutputs => "export the network without its softmax, or name the logits with --output",
            Self::SeveralOutputs => "name the logits with --output",
            Self::OtherDataSet => "choose a law of this data set with --law, or fit one with relstab calibrate",
            Self::FoldedMaps => "take a smaller --delta or --cutoff",
            Self::OutsideLaw => "fit a law on networks like this one with relstab calibrate",
            Self::LabelBeyondOutputs => "number the labels from 0, as the network's outputs are",
            Self::SeenInTraining => "measure on images that the training did not see",
            Self::Untrained => "measure it once it has learned something",
            Self::NoNormalisation => "name the training's with --mean and --std if it had one",
            Self::MetadataRefused => "write it as expected into the checkpoint or the file beside it",
            Self::FittedOnIt => "judge the law by networks that it was not fitted on",
            Self::NoPrediction | Self::Law | Self::Network | Self::Images | Self::Perturbation | Self::Other => "",
        }
    }

    /// The codes that `check --allow` takes: those that fail it.
    pub fn failing() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|code| code.severity() == Severity::Wrong)
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What, for programs.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What, in words.
    pub text: String,
    /// What to do about it; empty where there is nothing.
    pub help: String,
}

impl Finding {
    /// A finding with the severity and the help of its code.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), text: text.into(), help: code.help().to_owned() }
    }
}

/// Whether one of them is of this code.
pub fn has(findings: &[Finding], code: Code) -> bool {
    findings.iter().any(|finding| finding.code == code)
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Option<Severity> {
    findings.iter().map(|finding| finding.severity).max()
}
