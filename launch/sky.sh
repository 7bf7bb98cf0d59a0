#!/usr/bin/env bash
# Trains with SkyPilot as a managed job: it is started again on another machine when its own is taken away.
#
#     launch/sky.sh NAME [--nodes=N] [--gpus=H100:8] [--bucket=B] [--dry-run] -- --config=configs/adv.py:paper --workdir=/runs/NAME
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }

name=${1:-} nodes=1 gpus='' bucket=fdetect-runs dry=
[[ $name && $name != -* ]] || die "NAME: found '$name', wanted a name for the job"
shift
while (($#)); do
    case $1 in
    --nodes=*) nodes=${1#*=} ;;
    --gpus=*) gpus=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --dry-run) dry=1 ;;
    --) shift; break ;;
    *) die "found $1, wanted --nodes=, --gpus=, --bucket=, --dry-run, then -- and the training's own options" ;;
    esac
    shift
done
[[ $nodes =~ ^[1-9][0-9]*$ ]] || die "--nodes: found '$nodes', wanted a number"
(($#)) || die "found no --config after --, wanted one"
cd "$(dirname "$0")/.."

command=(sky jobs launch launch/skypilot.yaml --yes "--name=$name" "--num-nodes=$nodes" ${gpus:+"--gpus=$gpus"})
command+=(--env "BUCKET=$bucket" --env "ARGUMENTS=${*@Q}")
if [[ $dry ]]; then echo "${command[*]@Q}"; else exec "${command[@]}"; fi
