#!/usr/bin/env bash
# Example: the 1B model on a GKE cluster of TPUs. xpk (https://github.com/AI-Hypercomputer/xpk, flags
# as of 1.13) submits it and GKE restarts it. Needs docker, git, xpk and a cluster made with
# `xpk cluster create`. The mixture lies in a bucket that was attached once:
#   xpk storage attach "$STORAGE" --type=gcsfuse --bucket=BUCKET --size=1 --readonly=true \
#     --auto-mount=false --mount-point=/tinymathreason/runs/mixture \
#     --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER"
set -euo pipefail

PROJECT=${PROJECT:?set it to the Google Cloud project}
ZONE=${ZONE:?set it to the zone of the cluster, as us-central2-b}
CLUSTER=${CLUSTER:?set it to the name of the cluster}
STORAGE=${STORAGE:?set it to the name of the attached storage}
IMAGE=${IMAGE:?set it to REGION-docker.pkg.dev/PROJECT/REPOSITORY/tinymathreason}
OUTPUT=${OUTPUT:?set it to gs://BUCKET/FOLDER for the checkpoints}
WORKLOAD=${WORKLOAD:-tinymathreason-1b}
TPU_TYPE=${TPU_TYPE:-v4-32} # v5e is v5litepod-16 here
OVERLAY=${OVERLAY:-maxtext_configs/tinymathreason_1b_v4_32.yml}

# The image holds the commit and nothing else of this folder.
commit=$(git rev-parse HEAD)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
git clone --quiet "$(git rev-parse --show-toplevel)" "$context"
docker build --file "$context/pretrain/launch/gke/Dockerfile" --tag "$IMAGE:$commit" "$context"
docker push "$IMAGE:$commit"

# GKE starts every pod again after exit status 42 and 127 to 255 (a lost host); 1 is a crash and 75 a
# save after SIGTERM. Not 2, which is wrong input. Unlike pretrain.launch it does not know out of
# memory (1 as well), so the number of restarts is what bounds it. Ten minutes to save are enough.
xpk workload create \
  --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER" \
  --workload="$WORKLOAD" --tpu-type="$TPU_TYPE" --num-slices=1 \
  --docker-image="$IMAGE:$commit" --storage="$STORAGE" \
  --max-restarts=20 --restart-on-exit-codes=1,75 --termination-grace-period-seconds=600 \
  --command="python -m maxtext.train $OVERLAY base_output_directory=$OUTPUT"
