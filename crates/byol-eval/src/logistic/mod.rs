//! Multinomial logistic regression on frozen representations by L-BFGS, for transfer (paper D.2).
//!
//! The objective for n pictures with representation x and class y is
//!
//! `Σ_i −log softmax(W x_i + b)[y_i] + λ · ‖W‖²`;
//!
//! the bias is not penalised. scikit-learn's `LogisticRegression` minimises `C` times that with `C = 1 / 2λ`, so its minimum is the
//! same; only for two classes it has one vector of weights instead of two, and `C = 1 / λ` is the same. Data with several
//! classes per picture (VOC2007) take one binary regression per class instead, all with the same λ:
//! `Σ_c (Σ_i −log p(y_ic | x_i) + λ · ‖w_c‖²)` over the pictures that are not difficult for class c.
//!
//! The paper sweeps 45 values of "the ℓ2 regularisation parameter" between 1e-6 and 1e5 without its objective. This is the one of the
//! public code of the protocol's author (Kornblith, google-research/linear_eval): a sum over pictures, and no half before the
//! penalty. With a sum, a chosen λ keeps its meaning when validation pictures are added: 2λ is the precision of a prior on the weights. The paper does not say that representations are standardised, and neither do those
//! it follows (Kornblith et al. 2019; SimCLR, appendix B.8), so they are taken as they are.
//!
//! All arithmetic is f64 and summed in an order that depends on shapes alone: the number of threads changes no bit.

mod classifier;
mod fit;
mod lbfgs;
mod objective;
mod problem;
mod products;
mod sweep;

pub use classifier::Logistic;
pub use fit::fit;
pub use problem::{LogisticOptions, Samples};
pub use sweep::{Sweep, retrain, sweep, sweep_watched};
