#!/bin/bash
# One task of the array builds one part, on one GPU. Submit with submit.sh, which says how many.
# Five minutes before its time is up, the part is told so (USR1): what it has is committed, and the
# task asks to be queued again. The same command then goes on from there.
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
: "${SOURCE:?the documents}" "${KB:?where the knowledge base is to be}" "${PARTS:?how many}"
: "${RETRIEVER:=demo}"

part="$KB.parts/$SLURM_ARRAY_TASK_ID-of-$PARTS"
mkdir -p "$KB.parts"
code=0
srun rag-vqa kb build "$SOURCE" --out "$part" --shard "$SLURM_ARRAY_TASK_ID/$PARTS" \
  --retriever "$RETRIEVER" --offline || code=$?
if [ "$code" -eq 4 ]; then # stopped in time, and safe
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  exit 0
fi
exit "$code"
