#!/usr/bin/env bash
# Creates a Cloud TPU VM or slice, trains on all of its workers, and starts again after every preemption.
#
#     launch/tpu_vm.sh NAME --zone=ZONE --type=v5litepod-16 [--spot] [--version=v2-alpha-tpuv5-lite] [--project=P]
#         [--keep] [--tries=N] [--dry-run] -- --config=configs/adv.py:paper --workdir=/mnt/bucket/run
#
# The workdir must be one that every worker sees: a mounted bucket or file store. A preempted TPU is deleted and made
# again, and the run resumes from its last checkpoint. After a failure that is no preemption it is tried N times (3).
# At the end the TPU is deleted, unless --keep is given.
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }

name=${1:-} zone='' type='' version=v2-alpha-tpuv5-lite spot='' keep='' tries=3 dry='' project=()
[[ $name && $name != -* ]] || die "NAME: found '$name', wanted a name for the TPU: launch/tpu_vm.sh NAME --zone=… --type=… -- …"
shift
while (($#)); do
    case $1 in
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=("--project=${1#*=}") ;;
    --tries=*) tries=${1#*=} ;;
    --spot) spot=1 ;;
    --keep) keep=1 ;;
    --dry-run) dry=1 ;;
    --) shift; break ;;
    *) die "found $1, wanted --zone=, --type=, --version=, --project=, --tries=, --spot, --keep, --dry-run, then --" ;;
    esac
    shift
done
[[ $zone ]] || die "--zone: found none, wanted a zone such as us-west4-a"
[[ $type ]] || die "--type: found none, wanted an accelerator type such as v5litepod-16"
[[ $tries =~ ^[1-9][0-9]*$ ]] || die "--tries: found '$tries', wanted a number"
(($#)) || die "found no --config after --, wanted one"
cd "$(dirname "$0")/.."

where=("--zone=$zone" ${project[@]+"${project[@]}"} --quiet)
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
install='sudo apt-get -qq install -y libegl1 libgl1 libgles2 && mkdir -p fdetect && tar -xzf fdetect.tar.gz -C fdetect'
install+=' && python3 -m pip install -q --user uv && ~/.local/bin/uv venv -q --python 3.12 ~/venv'
install+=' && ~/.local/bin/uv pip install -q --python ~/venv -e "fdetect[tpu]"'
training="cd fdetect && ~/venv/bin/python -m fdetect_jax.main --distributed ${*@Q}"

tpu() { # subcommand, then its own arguments
    local command=(gcloud compute tpus tpu-vm "$1" "$name" "${@:2}" "${where[@]}")
    if [[ $dry ]]; then echo "${command[*]@Q}"; else "${command[@]}"; fi
}
everywhere() { tpu ssh --worker=all "--command=$1"; }
state() { gcloud compute tpus tpu-vm describe "$name" "${where[@]}" '--format=value(state)' 2>/dev/null || echo NONE; }

make() {
    tpu create "--accelerator-type=$type" "--version=$version" ${spot:+--spot}
    if [[ $dry ]]; then
        echo "'git' 'archive' '--format=tar.gz' '--output=fdetect.tar.gz' 'HEAD'"
    else
        git archive --format=tar.gz "--output=$archive" HEAD
    fi
    local command=(gcloud compute tpus tpu-vm scp "$archive" "$name:fdetect.tar.gz" --worker=all "${where[@]}")
    if [[ $dry ]]; then command[5]=fdetect.tar.gz; echo "${command[*]@Q}"; else "${command[@]}"; fi
    everywhere "$install"
}

if [[ $dry ]]; then
    make
    everywhere "$training"
    [[ $keep ]] || tpu delete
    exit
fi

failures=0 status=1
while true; do
    case $(state) in
    READY) ;;
    NONE) make || { sleep "${FDETECT_PAUSE:-60}"; continue; } ;;
    CREATING | STARTING | RESTARTING | REPAIRING) sleep "${FDETECT_PAUSE:-60}"; continue ;;
    *) tpu delete || true; sleep "${FDETECT_PAUSE:-60}"; continue ;; # preempted, stopped or terminated
    esac
    status=0
    everywhere "$training" || status=$?
    ((status == 0)) && break
    if [[ $(state) == READY ]]; then
        ((status == 143)) && continue # saved after SIGTERM
        failures=$((failures + 1))
        echo "the training ended with $status ($failures of $tries)" >&2
        ((failures < tries)) || break
    else
        echo "preempted: made again" >&2
    fi
done
[[ $keep ]] || tpu delete
exit "$status"
