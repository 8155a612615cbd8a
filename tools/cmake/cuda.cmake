# The CUDA kernels, compiled for the host (kernels/cuda/emulation): libsuan_cuda_emulated.so, and with every
# load and store reported to the race checker libsuan_cuda_emulated_check.so. Needs no CUDA.
#
# Where nvcc is on the PATH also libsuan_cuda.so: the same files compiled for sm_80 and sm_90a, with the resource
# reports beside them, and the runtime (kernels/cuda/runtime). It links neither driver nor NVIDIA's libraries.

file(GLOB suan_cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)

# kernels/cuda/<op>.cu defines kernel_<op>(); the scalar rows' files list themselves.
set(suan_cuda_table ${CMAKE_BINARY_DIR}/tables/cuda_kernel_table.cpp)
set(declared)
set(listed)
foreach(file IN LISTS suan_cuda_sources)
  cmake_path(GET file STEM name)
  if(name MATCHES "^scalar_")
    string(APPEND declared "void add_${name}(Rows& table);\n")
    string(APPEND listed "  add_${name}(table);\n")
  else()
    string(APPEND declared "Kernel kernel_${name}();\n")
    string(APPEND listed "  table.emplace_back(\"${name}\", kernel_${name}());\n")
  endif()
endforeach()
file(CONFIGURE OUTPUT ${suan_cuda_table} @ONLY CONTENT
"// Written by tools/cmake/cuda.cmake from the names in kernels/cuda/.
#include <utility>
#include <vector>

#include \"core/op.h\"

namespace suan::cuda {
using Rows = std::vector<std::pair<const char*, Kernel>>;
@declared@
Rows kernel_table() {
  Rows table;
@listed@  return table;
}
}  // namespace suan::cuda
")

set(cuda ${PROJECT_SOURCE_DIR}/kernels/cuda)
set(emulation ${cuda}/emulation)
file(GLOB emulator CONFIGURE_DEPENDS ${emulation}/*.cpp)   # what runs blocks; the rest is chosen below
list(FILTER emulator EXCLUDE REGEX "/(checker|no_checker|device|generated).cpp$")
set_source_files_properties(${suan_cuda_sources} ${cuda}/runtime/product.cu PROPERTIES LANGUAGE CXX)

# What generated kernels take pieces of: two headers as text, each from its first piece to the end of its namespace.
set(prelude)
foreach(name values prelude)
  set(file ${cuda}/lib/${name}.cuh)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} text)
  string(FIND "${text}" "//: " from)
  string(FIND "${text}" "}  // namespace" to)
  math(EXPR length "${to} - ${from}")
  string(SUBSTRING "${text}" ${from} ${length} text)
  string(APPEND prelude "${text}")
endforeach()
set(suan_cuda_prelude ${CMAKE_BINARY_DIR}/tables/cuda_prelude.cpp)
file(CONFIGURE OUTPUT ${suan_cuda_prelude} @ONLY CONTENT
"// Written by tools/cmake/cuda.cmake from kernels/cuda/lib.
namespace suan::cuda {
extern const char* const generated_prelude;
const char* const generated_prelude = R\"cuda(@prelude@)cuda\";
}  // namespace suan::cuda
")

function(suan_cuda_library name)
  target_link_libraries(${name} PRIVATE suan_flags suan ${CMAKE_DL_LIBS})
  target_compile_options(${name} PRIVATE -fvisibility=hidden -Wno-unknown-pragmas)
  target_link_options(${name} PRIVATE -Wl,-Bsymbolic -Wl,--no-undefined)
  set_target_properties(${name} PROPERTIES BUILD_RPATH_USE_ORIGIN ON INSTALL_RPATH "$ORIGIN")
endfunction()

function(suan_add_emulation name checker)
  add_library(${name}_kernels OBJECT ${suan_cuda_sources})
  target_link_libraries(${name}_kernels PRIVATE suan_flags)
  target_compile_options(${name}_kernels PRIVATE -fvisibility=hidden -Wno-unknown-pragmas -x c++ ${ARGN})
  add_library(${name} SHARED ${suan_cuda_table} ${suan_cuda_prelude} ${cuda}/lib/generated.cpp
    ${emulator} ${emulation}/device.cpp ${emulation}/generated.cpp ${emulation}/${checker}.cpp
    $<TARGET_OBJECTS:${name}_kernels>)
  suan_cuda_library(${name})
  set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/python/suan)
endfunction()

suan_add_emulation(suan_cuda_emulated no_checker)
# -g1 -O1: line numbers for reports. The sanitizer's library is not linked: checker.cpp takes its place.
suan_add_emulation(suan_cuda_emulated_check checker -O1 -g1 -fsanitize=thread
  --param=tsan-instrument-func-entry-exit=0)
target_compile_definitions(suan_cuda_emulated_check PRIVATE SUAN_EMULATION_CHECKS)

set(suan_cuda_runtime ${suan_cuda_table} ${suan_cuda_prelude} ${cuda}/lib/generated.cpp ${cuda}/runtime/driver.cpp
  ${cuda}/runtime/device.cpp ${cuda}/runtime/nvrtc.cpp)

# nvcc: of a toolkit on the PATH, else of PyPI's nvidia-cuda-nvcc in the project's environment.
file(GLOB nvcc_places ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/cu*/bin)
find_program(SUAN_NVCC nvcc PATHS ${nvcc_places})
if(SUAN_NVCC)
  execute_process(COMMAND ${SUAN_NVCC} --version OUTPUT_VARIABLE version)
  string(REGEX MATCH "release ([0-9]+)\\.([0-9]+)" version "${version}")
  math(EXPR cuda_version "${CMAKE_MATCH_1} * 1000 + ${CMAKE_MATCH_2} * 10")
  file(GLOB cuda_headers CONFIGURE_DEPENDS ${cuda}/lib/* ${cuda}/runtime/*.h)
  set(cuda_objects)
  foreach(file IN LISTS suan_cuda_sources ITEMS ${cuda}/runtime/product.cu)
    cmake_path(GET file STEM name)
    set(out ${CMAKE_BINARY_DIR}/cuda/${name})
    # fmt thinks that nvcc knows no constexpr, and nvcc does not take its consteval.
    add_custom_command(OUTPUT ${out}.o
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
      COMMAND sh -c "${SUAN_CCACHE} ${SUAN_NVCC} -std=c++20 -O3 -fmad=false -DFMT_USE_CONSTEXPR=1 -DFMT_CONSTEVAL= -I${PROJECT_SOURCE_DIR} -c -cudart none -Xcompiler -fPIC,-fvisibility=hidden -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -Xptxas -v -o ${out}.o ${file} > ${out}.log 2>&1 || { cat ${out}.log; exit 1; }"
      DEPENDS ${file} ${cuda_headers} ${PROJECT_SOURCE_DIR}/ops/scalar.h ${PROJECT_SOURCE_DIR}/core/op.h VERBATIM)
    list(APPEND cuda_objects ${out}.o)
  endforeach()
  set_source_files_properties(${cuda_objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  add_library(suan_cuda SHARED ${suan_cuda_runtime} ${cuda}/runtime/functions.cpp ${cuda}/runtime/generated.cpp
    ${cuda_objects})
  suan_cuda_library(suan_cuda)
  target_compile_definitions(suan_cuda PRIVATE SUAN_CUDA_VERSION=${cuda_version})
  set_target_properties(suan_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/python/suan)
  install(TARGETS suan_cuda LIBRARY DESTINATION suan COMPONENT python)
endif()

# The runtime's tests: a driver and a cuBLASLt without a card, and the runtime with the emulation's kernels, which run
# when that driver says so.
if(SUAN_TESTS)
  set(fake ${PROJECT_SOURCE_DIR}/tests/cuda)
  add_library(suan_fake_driver SHARED ${fake}/fake_driver.cpp)
  set_target_properties(suan_fake_driver PROPERTIES OUTPUT_NAME cuda SUFFIX .so.1)
  target_link_options(suan_fake_driver PRIVATE -Wl,-soname,libcuda.so.1)
  add_library(suan_fake_cublaslt SHARED ${fake}/fake_cublaslt.cpp)
  set_target_properties(suan_fake_cublaslt PROPERTIES OUTPUT_NAME cublasLt SUFFIX .so.13)
  target_link_libraries(suan_fake_cublaslt PRIVATE suan suan_fake_driver)
  add_library(suan_cuda_rehearsal SHARED ${suan_cuda_runtime} ${cuda}/runtime/product.cu ${emulator}
    ${emulation}/generated.cpp ${emulation}/no_checker.cpp ${fake}/rehearsal.cpp)
  target_sources(suan_cuda_rehearsal PRIVATE $<TARGET_OBJECTS:suan_cuda_emulated_kernels>)
  suan_cuda_library(suan_cuda_rehearsal)
  set_source_files_properties(${cuda}/runtime/product.cu PROPERTIES COMPILE_OPTIONS "-x;c++")
  target_compile_definitions(suan_cuda_rehearsal PRIVATE SUAN_CUDA_NAME="cuda-rehearsal")
  foreach(part suan_fake_driver suan_fake_cublaslt)
    target_link_libraries(${part} PRIVATE suan_flags)
  endforeach()
  set_target_properties(suan_fake_driver suan_fake_cublaslt suan_cuda_rehearsal PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fake_cuda)
endif()

install(TARGETS suan_cuda_emulated LIBRARY DESTINATION suan COMPONENT python)
