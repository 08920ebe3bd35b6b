#!/bin/bash
# Merges the parts into one knowledge base, in order. Needs no GPU and encodes nothing.
#SBATCH --job-name=kb-merge
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
set -euo pipefail
: "${KB:?set it to the path of the knowledge base}" "${PARTS:?set it to the number of parts}"

parts=()
for ((number = 1; number <= PARTS; number++)); do
  parts+=("$KB.parts/$number-of-$PARTS")
done
srun rag-vqa kb merge "${parts[@]}" --out "$KB"
srun rag-vqa kb verify "$KB"
