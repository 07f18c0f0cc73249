#!/bin/sh
# Makes speech.opus from sentences.txt (a voice and a sentence a line): apt-get install flite ffmpeg
# Every sentence is padded to 4.6 s, the length of a scene in ../demo.py, so words and pictures stay together.
set -eu
cd "$(dirname "$0")"
FFMPEG=${FFMPEG:-ffmpeg}
parts=$(mktemp -d)
trap 'rm -r "$parts"' EXIT
number=0
while IFS=: read -r voice sentence; do
    number=$((number + 1))
    flite -voice "$voice" -t "$sentence" -o "$parts/said.wav"
    "$FFMPEG" -nostdin -v error -i "$parts/said.wav" -af "adelay=250,apad" -t 4.6 -ar 16000 -ac 1 "$parts/$number.wav"
    echo "file $number.wav" >>"$parts/list"
done <sentences.txt
"$FFMPEG" -nostdin -v error -y -f concat -i "$parts/list" -fflags +bitexact -map_metadata -1 -c:a libopus -b:a 40k speech.opus
