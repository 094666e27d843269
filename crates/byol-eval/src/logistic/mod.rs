//! Multinomial logistic regression on frozen representations by L-BFGS, for transfer (paper D.2).
//!
//! The objective for n pictures with representation x and class y is
//!
//! `1/n · Σ_i −log softmax(W x_i + b)[y_i] + λ/2 · ‖W‖²`;
//!
//! the bias is not penalised. scikit-learn's `LogisticRegression` minimises `n · C` times that with `C = 1 / (λ n)`, so its
//! minimum is the same; only for two classes it has one vector of weights instead of two, and `C = 2 / (λ n)` is the same. Data
//! with several classes per picture (VOC2007) take one binary regression per class instead, all with the same λ:
//! `Σ_c (1/n_c · Σ_i −log p(y_ic | x_i) + λ/2 · ‖w_c‖²)` over the `n_c` pictures that are not difficult for class c.
//!
//! The paper sweeps 45 values of "the ℓ2 regularisation parameter" between 1e-6 and 1e5 without its objective; this is the usual one
//! with a mean over pictures. It does not say that representations are standardised, and neither do those it follows
//! (Kornblith et al. 2019; SimCLR, appendix B.8), so they are taken as they are.
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
pub use sweep::{Sweep, retrain, sweep};
