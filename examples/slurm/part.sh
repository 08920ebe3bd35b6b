#!/bin/bash
# Each task of the array builds one part on one GPU. Submit with submit.sh, which sets their number.
# Five minutes before the time limit, Slurm sends USR1. The build then commits its documents, and the
# task queues itself again. The same command then continues from there.
#SBATCH --job-name=kb-part
#SBATCH --gpus-per-task=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${SOURCE:?set it to the documents}" "${KB:?set it to the path of the knowledge base}"
: "${PARTS:?set it to the number of parts}"
: "${RETRIEVER:=demo}"

part="$KB.parts/$SLURM_ARRAY_TASK_ID-of-$PARTS"
mkdir -p "$KB.parts"
code=0
srun rag-vqa kb build "$SOURCE" --out "$part" --shard "$SLURM_ARRAY_TASK_ID/$PARTS" \
  --retriever "$RETRIEVER" --offline || code=$?
if [ "$code" -eq 4 ]; then # the build stopped in time and committed
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  exit 0
fi
exit "$code"
