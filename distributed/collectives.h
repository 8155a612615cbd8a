// The collectives, written once over a Transport.
#pragma once

#include "core/communicator.h"
#include "distributed/transport.h"

namespace suan::distributed {

// timeout: seconds that a rank waits for another one in a collective.
std::shared_ptr<Communicator> make_communicator(std::unique_ptr<Transport> transport, double timeout);

}  // namespace suan::distributed
