#!/usr/bin/env bash
# Sigstore's own program, to test our signatures against: `tests/release/get_cosign.sh FOLDER` leaves FOLDER/cosign.
# Debian has it from trixie on and it runs on bookworm; apt fetches it from where it takes its packages, and checks its hash.
set -euo pipefail
out=$(realpath -m "$1")
mirror=$(apt-get indextargets --format '$(SITE)' 'Component: main' | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
echo "deb $mirror trixie main" > sources.list
apart=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists" \
  -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
{ apt-get "${apart[@]}" update && apt-get "${apart[@]}" download cosign; } > log 2>&1 || { tail -n 5 log >&2; exit 1; }
dpkg-deb -x cosign_*.deb root
mkdir -p "$out"
mv root/usr/bin/cosign "$out/cosign.new"
mv "$out/cosign.new" "$out/cosign"
