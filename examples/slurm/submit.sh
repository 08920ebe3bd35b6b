#!/bin/bash
# Submits an array of parts, then a merge that waits until all parts have succeeded.
#   SOURCE=docs.jsonl KB=docs.kb PARTS=64 RETRIEVER=aimagelab/ReT-CLIP-ViT-L-14 ./submit.sh
# All nodes must see the paths, and the retriever must have been downloaded before. Requeued tasks
# keep their place in the array, so the merge waits for them, too.
set -euo pipefail
: "${SOURCE:?set it to the documents}" "${KB:?set it to the path of the knowledge base}"
: "${PARTS:?set it to the number of parts}"
export SOURCE KB PARTS RETRIEVER="${RETRIEVER:-demo}"

here=$(cd "$(dirname "$0")" && pwd)
array=$(sbatch --parsable --export=ALL --array="1-$PARTS" "$here/part.sh")
sbatch --parsable --export=ALL --dependency="afterok:${array%%;*}" "$here/merge.sh"
