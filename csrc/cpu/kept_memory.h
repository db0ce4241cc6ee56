// Memory for one large gradient, kept from step to step.
//
// malloc returns a block of this size to the system at once, and the next step pays for fresh pages:
// they are zeroed before they are overwritten, and a virtual machine may first have to get them from
// its host. Here the last block given back waits for the next call. While it waits the system may
// take its pages (MADV_FREE) and a child process does not inherit them (MADV_WIPEONFORK).
//
// No locks, so a fork at any moment leaves the child in a usable state.
#pragma once
#include <cstddef>

namespace percbal {

struct Block {
  void* data;  // null: none was to be had
  size_t bytes;
};

// At least `bytes`, aligned to huge pages, not initialised; from the kept block where it is large
// enough. None below 8 MiB, with PERCBAL_KEEP_MEMORY=0, or where the system lacks what it takes.
Block take_block(size_t bytes);

// Keeps the larger of `block` and the one kept before; unmaps the other.
void give_back(Block block);

// Unmaps the kept block, if any, and returns its size.
size_t drop_kept_block();

}  // namespace percbal
