# The CUDA kernels, compiled for the host (kernels/cuda/emulation): libsuan_cuda_emulated.so, and with every
# load and store reported to the race checker libsuan_cuda_emulated_check.so. Needs no CUDA.
#
# Where there is an nvcc: target cuda_objects compiles every kernel for sm_80 and sm_90a, in one call a file,
# and keeps the resource reports beside the results.

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

set(emulation ${PROJECT_SOURCE_DIR}/kernels/cuda/emulation)
set_source_files_properties(${suan_cuda_sources} PROPERTIES LANGUAGE CXX)

function(suan_add_emulation name checker)
  add_library(${name}_kernels OBJECT ${suan_cuda_sources})
  add_library(${name} SHARED ${suan_cuda_table} ${emulation}/scheduler.cpp ${emulation}/fragments.cpp
    ${emulation}/hopper.cpp ${emulation}/device.cpp
    ${emulation}/${checker}.cpp $<TARGET_OBJECTS:${name}_kernels>)
  foreach(part ${name} ${name}_kernels)
    target_link_libraries(${part} PRIVATE suan_flags)
    target_compile_options(${part} PRIVATE -fvisibility=hidden -Wno-unknown-pragmas)
  endforeach()
  target_compile_options(${name}_kernels PRIVATE -x c++ ${ARGN})
  target_link_libraries(${name} PRIVATE suan)
  target_link_options(${name} PRIVATE -Wl,-Bsymbolic -Wl,--no-undefined)
  set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/python/suan
    BUILD_RPATH_USE_ORIGIN ON INSTALL_RPATH "$ORIGIN")
endfunction()

suan_add_emulation(suan_cuda_emulated no_checker)
# -g1 -O1: line numbers for reports. The sanitizer's library is not linked: checker.cpp takes its place.
suan_add_emulation(suan_cuda_emulated_check checker -O1 -g1 -fsanitize=thread
  --param=tsan-instrument-func-entry-exit=0)

# nvcc: of a toolkit on the PATH, else of PyPI's nvidia-cuda-nvcc in the project's environment.
file(GLOB nvcc_places ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/cu*/bin)
find_program(SUAN_NVCC nvcc PATHS ${nvcc_places})
if(SUAN_NVCC)
  file(GLOB cuda_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/lib/*)
  set(cuda_objects)
  foreach(file IN LISTS suan_cuda_sources)
    cmake_path(GET file STEM name)
    set(out ${CMAKE_BINARY_DIR}/cuda/${name})
    # fmt thinks that nvcc knows no constexpr, and nvcc does not take its consteval.
    add_custom_command(OUTPUT ${out}.o
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
      COMMAND sh -c "${SUAN_CCACHE} ${SUAN_NVCC} -std=c++20 -O3 -fmad=false -DFMT_USE_CONSTEXPR=1 -DFMT_CONSTEVAL= -I${PROJECT_SOURCE_DIR} -c -cudart none -Xcompiler -fPIC,-fvisibility=hidden -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -Xptxas -v -o ${out}.o ${file} > ${out}.log 2>&1 || { cat ${out}.log; exit 1; }"
      DEPENDS ${file} ${cuda_headers} ${PROJECT_SOURCE_DIR}/ops/scalar.h ${PROJECT_SOURCE_DIR}/core/op.h VERBATIM)
    list(APPEND cuda_objects ${out}.o)
  endforeach()
  add_custom_target(cuda_objects DEPENDS ${cuda_objects})
endif()

install(TARGETS suan_cuda_emulated LIBRARY DESTINATION suan)
