#!/usr/bin/env bash
# Example: train the 1B model on a GKE cluster of TPUs. xpk (https://github.com/AI-Hypercomputer/xpk,
# flags as of version 1.13) submits the job and GKE restarts it. Required: docker, git, xpk, a cluster
# made with `xpk cluster create`, and the mixture in a bucket that was attached once with:
#   xpk storage attach "$STORAGE" --type=gcsfuse --bucket=BUCKET --size=1 --readonly=true \
#     --auto-mount=false --mount-point=/tinymathreason/runs/mixture \
#     --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER"
set -euo pipefail

PROJECT=${PROJECT:?set it to the Google Cloud project}
ZONE=${ZONE:?set it to the zone of the cluster, such as us-central2-b}
CLUSTER=${CLUSTER:?set it to the name of the cluster}
STORAGE=${STORAGE:?set it to the name of the attached storage}
IMAGE=${IMAGE:?set it to REGION-docker.pkg.dev/PROJECT/REPOSITORY/tinymathreason}
OUTPUT=${OUTPUT:?set it to gs://BUCKET/FOLDER for the checkpoints}
WORKLOAD=${WORKLOAD:-tinymathreason-1b}
TPU_TYPE=${TPU_TYPE:-v4-32} # for v5e: v5litepod-16; for Ironwood (xpk 0.16): tpu7x-2x2x1
OVERLAY=${OVERLAY:-maxtext_configs/tinymathreason_1b_v4_32.yml}

# The image contains the current commit and no other files of this folder.
commit=$(git rev-parse HEAD)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
git clone --quiet "$(git rev-parse --show-toplevel)" "$context"
docker build --file "$context/pretrain/launch/gke/Dockerfile" --tag "$IMAGE:$commit" "$context"
docker push "$IMAGE:$commit"

# GKE restarts all pods after exit status 42 and 127 to 255 (a lost host), and here also after 1 (a
# crash) and 75 (saved after SIGTERM), but not after 2 (wrong input). Unlike pretrain.launch it cannot
# tell out of memory, which also exits with 1, so --max-restarts limits the restarts. Ten minutes are
# enough to save.
xpk workload create \
  --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER" \
  --workload="$WORKLOAD" --tpu-type="$TPU_TYPE" --num-slices=1 \
  --docker-image="$IMAGE:$commit" --storage="$STORAGE" \
  --max-restarts=20 --restart-on-exit-codes=1,75 --termination-grace-period-seconds=600 \
  --command="python -m maxtext.train $OVERLAY base_output_directory=$OUTPUT"
