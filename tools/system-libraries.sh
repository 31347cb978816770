#!/usr/bin/env bash
# Make sure that a real napari viewer can open without a screen: an X server in memory
# with GL, and the libraries that Qt loads. Installs what is missing on Debian and Ubuntu
# when it may, and otherwise names it and fails.
set -euo pipefail

[ "$(uname -s)" = Linux ] || exit 0

# program or library : Debian package that holds it
needed=(
  Xvfb:xvfb
  xvfb-run:xvfb
  xauth:xauth
  xwininfo:x11-utils
  libGL.so.1:libgl1
  libEGL.so.1:libegl1
  libOpenGL.so.0:libopengl0
  libglib-2.0.so.0:libglib2.0-0
  libdbus-1.so.3:libdbus-1-3
  libfontconfig.so.1:libfontconfig1
  libxkbcommon-x11.so.0:libxkbcommon-x11-0
  libxcb-cursor.so.0:libxcb-cursor0
  libxcb-icccm.so.4:libxcb-icccm4
  libxcb-keysyms.so.1:libxcb-keysyms1
  libxcb-shape.so.0:libxcb-shape0
  libxcb-xinerama.so.0:libxcb-xinerama0
)
# Loaded by file name rather than through the linker's cache, so looked for as files.
drivers=(/usr/lib/*/dri/swrast_dri.so /usr/lib*/dri/swrast_dri.so /usr/lib/*/libgallium-*.so /usr/lib*/libgallium-*.so)
fonts=(/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf /usr/share/fonts/*/DejaVuSans.ttf)

exists_any() {
  local path
  for path in "$@"; do [ -e "$path" ] && return 0; done
  return 1
}

missing_packages() {
  local cache entry name package
  cache=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)
  for entry in "${needed[@]}"; do
    name=${entry%%:*} package=${entry##*:}
    case $name in
      lib*) grep -qF "$name " <<<"$cache" || echo "$package" ;;
      *) command -v "$name" >/dev/null || echo "$package" ;;
    esac
  done
  exists_any "${drivers[@]}" || echo libgl1-mesa-dri
  exists_any "${fonts[@]}" || echo fonts-dejavu-core
}

missing=$(missing_packages | sort -u | tr '\n' ' ')
[ -n "$missing" ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    as_root=(refused)
  fi
fi
if ! command -v apt-get >/dev/null || [ "${as_root[*]}" = refused ]; then
  echo "The viewer's tests need an X server in memory and the libraries of Qt." >&2
  echo "Missing, by their names on Debian and Ubuntu: $missing" >&2
  echo "Install them, for example with: sudo apt-get install $missing" >&2
  exit 1
fi

echo "installing: $missing"
"${as_root[@]}" apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $missing >/dev/null

still=$(missing_packages | sort -u | tr '\n' ' ')
if [ -n "$still" ]; then
  echo "still missing after the installation: $still" >&2
  exit 1
fi
