#!/usr/bin/env bash
# Trains on GKE (or any Kubernetes with JobSet): one pod for each host.
#
#     launch/gke/run.sh gpu|tpu NAME IMAGE HOSTS [--dry-run] [--accelerator=A] [--topology=T] [--devices=D] [--claim=PVC]
#         -- --config=configs/adv.py:paper --workdir=/runs/NAME
#
# IMAGE: built from Dockerfile.cuda or Dockerfile.tpu and pushed. HOSTS: how many pods, each with D devices (8 GPUs of
# kind nvidia-h100-80gb; 4 chips of tpu-v5-lite-podslice, topology 4x4 for 4 hosts). The claim (fdetect-runs), a
# volume that all pods can write, is mounted at /runs. When a pod is preempted or fails, all start again and resume.
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }

kind=${1:-} name=${2:-} image=${3:-} hosts=${4:-} dry='' accelerator='' topology=4x4 devices='' claim=fdetect-runs
[[ $kind == gpu || $kind == tpu ]] || die "found '$kind', wanted gpu or tpu"
[[ $name =~ ^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$ ]] || die "NAME: found '$name', wanted lower-case letters, digits and -"
[[ $image && $image != -* ]] || die "IMAGE: found '$image', wanted an image that the cluster can pull"
[[ $hosts =~ ^[1-9][0-9]*$ ]] || die "HOSTS: found '$hosts', wanted a number"
shift 4
while (($#)); do
    case $1 in
    --accelerator=*) accelerator=${1#*=} ;;
    --topology=*) topology=${1#*=} ;;
    --devices=*) devices=${1#*=} ;;
    --claim=*) claim=${1#*=} ;;
    --dry-run) dry=1 ;;
    --) shift; break ;;
    *) die "found $1, wanted --accelerator=, --topology=, --devices=, --claim=, --dry-run, then --" ;;
    esac
    shift
done
(($#)) || die "found no --config after --, wanted one"
if [[ $kind == gpu ]]; then
    : "${accelerator:=nvidia-h100-80gb}" "${devices:=8}"
else
    : "${accelerator:=tpu-v5-lite-podslice}" "${devices:=4}"
fi
[[ $devices =~ ^[1-9][0-9]*$ ]] || die "--devices: found '$devices', wanted a number"

arguments=
for one in "$@"; do # a JSON string is a YAML string
    quoted=${one//\\/\\\\}
    arguments+="${arguments:+, }\"${quoted//\"/\\\"}\""
done
escaped() { # for the right side of sed's s|…|…|
    local text=${1//\\/\\\\}
    text=${text//&/\\&}
    printf %s "${text//|/\\|}"
}
rendered=$(sed -e "s|__NAME__|$name|g" -e "s|__IMAGE__|$(escaped "$image")|g" -e "s|__HOSTS__|$hosts|g" \
    -e "s|__ACCELERATOR__|$(escaped "$accelerator")|g" -e "s|__TOPOLOGY__|$(escaped "$topology")|g" \
    -e "s|__DEVICES__|$devices|g" -e "s|__CLAIM__|$(escaped "$claim")|g" \
    -e "s|__ARGUMENTS__|$(escaped "$arguments")|g" "$(dirname "$0")/jobset-$kind.yaml")
if [[ $dry ]]; then
    printf '%s\n' "# 'kubectl' 'apply' '-f' '-'" "$rendered"
else
    kubectl apply -f - <<<"$rendered"
fi
