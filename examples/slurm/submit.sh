#!/bin/bash
# An array of parts, then the merge, which waits for all of them to end well.
#   SOURCE=docs.jsonl KB=docs.kb PARTS=64 RETRIEVER=aimagelab/ReT-CLIP-ViT-L-14 ./submit.sh
# The paths lie on a file system that all nodes see; the retriever was downloaded before. Requeued
# tasks keep their place in the array, so that the merge waits for them too.
set -euo pipefail
: "${SOURCE:?the documents}" "${KB:?where the knowledge base is to be}" "${PARTS:?how many}"
export SOURCE KB PARTS RETRIEVER="${RETRIEVER:-demo}"

here=$(cd "$(dirname "$0")" && pwd)
array=$(sbatch --parsable --export=ALL --array="1-$PARTS" "$here/part.sh")
sbatch --parsable --export=ALL --dependency="afterok:${array%%;*}" "$here/merge.sh"
