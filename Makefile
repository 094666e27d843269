# Targets for contributors, cheapest first, and `install`. `.ci/run` needs no make and runs the same checks.

GOLDEN_VENV ?= $(HOME)/.cache/byol-golden
BENCH_VENV ?= $(HOME)/.cache/byol-bench

PREFIX ?= /usr/local

.PHONY: check test test-gpu test-mpi test-remote test-arm torture asan golden fuzz bench-vs-pytorch bench-gpu gpu-kit install

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --release -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --release

test:
	cargo test --release --workspace

# What runs on graphics cards, on the card of this machine or the software driver of Vulkan; CUDA is linked, too. A build of its own.
test-gpu:
	CARGO_TARGET_DIR=target/gpu cargo test --locked --release --workspace --features cuda,wgpu --test parity --test devices --test golden

# Data behind URLs, also with an S3 server of another maker.
test-remote:
	cargo install s3s-fs --version 0.14.1 --locked --features binary --root target/s3
	S3_SERVER="$(CURDIR)/target/s3/bin/s3s-fs" cargo test --release -p byol-data --features remote --test remote -- --include-ignored

# Several processes under Open MPI's mpirun. One test at a time: each has processes enough.
test-mpi:
	cargo test --locked --release --workspace --features mpi --test mpi --test ranks -- --test-threads 1

# The kernels' tests on an emulated 64-bit ARM; on Debian with the packages qemu-user, gcc-aarch64-linux-gnu and libc6-dev-arm64-cross.
test-arm:
	rustup target add aarch64-unknown-linux-gnu
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu" \
		cargo test --locked --release -p byol-kernels --target aarch64-unknown-linux-gnu --target-dir target/arm --lib --tests

# Kills, full and read-only disks and damaged checkpoints at random, see docs/reliability.md. As root, since disks are mounted.
torture:
	cargo test --release --workspace --test torture torture -- --ignored --exact --nocapture

# The kernels' tests under the address sanitizer, which stable Rust has but does not offer. Blocks that a test's allocator keeps are no leaks.
asan:
	ASAN_OPTIONS=detect_leaks=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" cargo test --release -p byol-kernels \
		--target "$$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/asan --lib --tests

# Every fuzz target for a minute (SECONDS=60), with the test pictures to start from where a target takes files; see CONTRIBUTING.md.
SECONDS ?= 60
fuzz:
	cd fuzz && for target in $$(cargo fuzz list); do \
		mkdir -p "corpus/$$target" && RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" -- -max_total_time=$(SECONDS) -print_final_stats=1 || exit 1; \
	done

# Rewrites the committed golden data with the independent Python programs, in an environment outside of the repository.
golden:
	python3 -m venv "$(GOLDEN_VENV)"
	"$(GOLDEN_VENV)/bin/pip" install --quiet --requirement tests/golden/requirements.txt
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/pictures.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/jpeg_kinds.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/tiff_kinds.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/dicom_kinds.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/sources.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/benchmarks.py
	tests/golden/webdataset.sh
	tests/golden/tls.sh
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/augmentations.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/preparation.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/method.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/variants.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/negatives.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/torch_weights.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/haiku_weights.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/monitors.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/tensorboard_events.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/classifiers.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/exports.py
	"$(GOLDEN_VENV)/bin/python" -B tests/golden/index.py
	git status --short crates/*/tests/data

# Training steps and inference beside PyTorch and ONNX Runtime, one step with AVX2 only, and what the registers could do, in an environment outside of the
# repository; see bench/README.md.
bench-vs-pytorch:
	cargo build --release
	python3 -m venv "$(BENCH_VENV)"
	"$(BENCH_VENV)/bin/pip" install --quiet --requirement bench/requirements.txt
	"$(BENCH_VENV)/bin/python" -B bench/compare.py target/release/byol
	"$(BENCH_VENV)/bin/python" -B bench/compare.py target/release/byol --isa avx2 --work step-resnet18
	target/release/byol bench peak

# What `bench-gpu` needs on a machine that builds nothing: the program and the tests for an NVIDIA card, in target/gpu-kit.
KIT_TESTS = --locked --release --workspace --exclude byol-index --features cuda --test parity --test golden
gpu-kit:
	mkdir -p target/gpu-kit/tests
	CARGO_TARGET_DIR=target/gpu cargo build --locked --release -p byol-cli --features cuda
	cp target/gpu/release/byol target/gpu-kit
	CARGO_TARGET_DIR=target/gpu cargo test $(KIT_TESTS) --no-run
	CARGO_TARGET_DIR=target/gpu cargo test $(KIT_TESTS) --no-run 2>&1 | sed -n 's|.*Executable tests/\(.*\)\.rs (\(.*\))|\2 target/gpu-kit/tests/\1|p' | xargs -n 2 cp

# Tests, shares of busy time, training steps and inference beside PyTorch, and a training on DATA (CIFAR-10), on a machine with an NVIDIA card and a
# Python that has PyTorch; in less than ten minutes, without network, from what `make gpu-kit` left.
KIT ?= target/gpu-kit
DATA ?= ../shared/data/cifar10-jpg.tar.xz
bench-gpu:
	$(KIT)/byol devices
	python3 -B bench/gpu.py $(KIT)/byol --tests $(KIT)/tests --data $(DATA) --json gpu.json

# The program, its completions and its manual pages below PREFIX, and that below DESTDIR, which packagers set. Build first as the
# user who owns target/; what is built is not built again.
install:
	cargo build --locked --release -p byol-cli
	rm -rf target/man && target/release/byol man target/man
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
		"$(DESTDIR)$(PREFIX)/share/zsh/site-functions" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	install -m 755 target/release/byol "$(DESTDIR)$(PREFIX)/bin/byol"
	install -m 644 target/man/*.1 "$(DESTDIR)$(PREFIX)/share/man/man1"
	target/release/byol completions bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/byol"
	target/release/byol completions zsh > "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_byol"
	target/release/byol completions fish > "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/byol.fish"
