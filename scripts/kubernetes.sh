#!/usr/bin/env bash
# The programs of a Kubernetes cluster for the tests, built from Debian's source package and kept in the user's cache: once a machine,
# about ten minutes on two cores. Prints the folder that holds them. Needs root, for apt-get.
set -euo pipefail

PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)
RECIPE=3 # another number builds again
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stoker-kubernetes

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
built() { [ "$(cat "$cache/recipe" 2>/dev/null)" = "$RECIPE" ]; }

packages=()
command -v etcd >/dev/null || packages+=(etcd-server)
command -v containerd >/dev/null || packages+=(containerd)
[ -x /bin/busybox ] || packages+=(busybox-static)
command -v dnsmasq >/dev/null || packages+=(dnsmasq-base)
command -v conntrack >/dev/null || packages+=(conntrack)
[ -x /usr/lib/cni/bridge ] || packages+=(containernetworking-plugins)
built || packages+=(dpkg-dev golang-go golang-github-modern-go-reflect2-dev jq make rsync)
if ((${#packages[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
fi

if ! built; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT

  # Sources come from where this machine gets its packages of the same release: its own entries, asked for sources instead.
  . /etc/os-release
  mkdir -p "$scratch/sources" "$scratch/lists"
  entries=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list)
  cat "${entries[@]}" 2>/dev/null | grep -E "^deb .*[[:space:]]$VERSION_CODENAME[[:space:]].*main" |
    sed 's/^deb /deb-src /' >"$scratch/sources/here.list" || true
  cat /etc/apt/sources.list.d/*.sources 2>/dev/null /dev/null | awk -v RS= -v ORS='\n\n' -v "suite=$VERSION_CODENAME" '
    $0 ~ "\nSuites:([^\n]* )?" suite "( |\n)" && /\nComponents:[^\n]*main/ { sub(/Types:[^\n]*/, "Types: deb-src"); print }
  ' >"$scratch/sources/here.sources"
  apt=(apt-get -qq -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$scratch/sources" -o "Dir::State::Lists=$scratch/lists"
    -o "APT::Sandbox::User=root")
  "${apt[@]}" update
  (cd "$scratch" && "${apt[@]}" --only-source source kubernetes) >&2

  tree=$(echo "$scratch"/kubernetes-*/)
  what=$(printf 'cmd/%s ' "${PROGRAMS[@]}")
  # The copy of reflect2 in there is older than Go 1.18, and with newer ones it corrupts memory; Debian's own is not.
  rm "$tree"/vendor/github.com/modern-go/reflect2/*.{go,s}
  cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$tree/vendor/github.com/modern-go/reflect2/"
  # Without debugging symbols it links faster and takes a third of the room. The kubelet is linked as the others are: what they have
  # in common is compiled once.
  (cd "$tree" && GOFLAGS= KUBE_STATIC_OVERRIDES=kubelet make WHAT="$what" GOLDFLAGS='-s -w') >&2
  mkdir -p "$cache/bin"
  for program in "${PROGRAMS[@]}"; do install "$tree/_output/local/go/bin/$program" "$cache/bin/"; done
  echo "$RECIPE" >"$cache/recipe"
fi
echo "$cache/bin"
