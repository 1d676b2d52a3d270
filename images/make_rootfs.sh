#!/usr/bin/env bash
# Debian's Python and nothing that it does not need, as one tar: `images/make_rootfs.sh OUT.tar`; root, debootstrap, two minutes.
# For hosts without a registry to take a base image from. The packages come from where apt takes them.
set -euo pipefail
out=$(realpath -m "$1")
mirror=$(apt-get indextargets --format '$(SITE)' 'Codename: bookworm' 'Component: main' | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=python3-minimal,libpython3-stdlib,ca-certificates bookworm "$work/root" "$mirror" > "$work/log" \
  || { tail -n 5 "$work/log" >&2; exit 1; }
cd "$work/root"
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/{doc,man,locale,info} dev/* proc/* sys/* tmp/* etc/machine-id etc/apt/sources.list*
find . -name __pycache__ -type d -prune -exec rm -rf {} +
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$out.new" .
mv "$out.new" "$out"
echo "$out@sha256:$(sha256sum "$out" | cut -d ' ' -f 1)"
